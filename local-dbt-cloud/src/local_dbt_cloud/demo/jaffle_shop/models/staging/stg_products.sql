with

source as (

    select * from {{ ref('raw_products') }}

),

renamed as (

    select
        sku as product_id,
        name as product_name,
        category,
        {{ cents_to_dollars('price') }} as list_price,
        {{ cents_to_dollars('unit_cost') }} as unit_cost,

    from source

)

select * from renamed
